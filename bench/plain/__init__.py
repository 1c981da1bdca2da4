"""A relay as one would write it without this project, to compare with: Starlette, aiohttp, coincurve."""
