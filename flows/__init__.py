"""The four dataflows, the composition root and the command line. Imports every other package."""
