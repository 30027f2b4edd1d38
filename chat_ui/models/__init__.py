"""What can be loaded, found out without loading it. Importing it loads neither torch nor gradio."""
