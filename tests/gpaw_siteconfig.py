# How `make gpaw` builds GPAW for the tests: with any C++ compiler, without MPI.
compiler = "g++"
mpi = False
