"""Getting a corpus from its publisher: archives, downloads that go on where they stopped, unpacking."""
