"""Where scans are made: a stream of readouts, a watched folder, DICOM over a network."""
