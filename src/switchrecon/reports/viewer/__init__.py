"""The viewer: stacks of slices on one page, in a file that needs nothing else or from a server on this machine."""
