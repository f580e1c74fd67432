"""Running a trained model over a video: windows, predictions, events, annotated copies."""
