"""What stands before the page: session cookie, health check, starting and ending the server."""
