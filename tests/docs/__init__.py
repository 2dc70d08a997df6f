"""The parts of docs/ that are made from the code, and the tests that pages say what is."""
