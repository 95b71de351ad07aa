"""Steps that the decodes of two or more methods share."""
