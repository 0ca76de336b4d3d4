"""What the library costs the client's processor, against the same pages read by hand."""
