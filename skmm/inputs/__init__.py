"""From blocks to tensors: columns on a device, batches, scaling."""
