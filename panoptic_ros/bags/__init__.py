"""Recordings: bags, videos and image folders are read and written."""
