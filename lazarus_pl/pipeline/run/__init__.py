"""The whole chain, resumable: photos to a model, a report and a summary."""
