"""Two fuzzers: of the grammar (YAML) and of the files that a study names (data, structures, models).

`make fuzz` carries out thousands of cases; `test_fuzz.py` some of each. A case follows from seed and number alone.
"""
