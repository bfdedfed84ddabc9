"""Pictures of analyses as matplotlib figures. matplotlib is imported only when a picture is drawn."""
