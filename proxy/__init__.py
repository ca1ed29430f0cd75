"""Nearhit's process and data path: sessions, lanes, routes."""
