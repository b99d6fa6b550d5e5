"""The version of the features. Features of another version compare with nothing; a calibration holds for one."""

VERSION = 2
