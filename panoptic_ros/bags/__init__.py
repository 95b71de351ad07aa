"""Recordings: bags, videos and image folders are read, replayed and written."""
