"""Configuration and state to the dflow Workflow of one iteration."""
