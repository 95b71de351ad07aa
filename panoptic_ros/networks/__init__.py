"""Parts of networks that two or more methods share."""
