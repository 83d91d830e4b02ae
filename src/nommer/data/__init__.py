"""From image files to typed batches: decode, find the data, audit, transform, batch."""
