"""In ordinary operation: has a camera moved, is a joint's zero off."""
