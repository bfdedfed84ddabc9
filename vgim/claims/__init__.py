"""Claims: which process works on a folder, by a file in the folder that no two processes can hold at once."""
