"""Measurements that people who work on the project take. Nothing here is imported by the app."""
