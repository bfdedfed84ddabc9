"""Pictures of analyses as PNG bytes. matplotlib is imported only when a picture is drawn."""
