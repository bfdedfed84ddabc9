"""The stream of crops: the order of an epoch, read tasks, and the batches of a rank."""
