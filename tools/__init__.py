"""Commands of this project: nothing here runs in the app."""
