"""A relay as one would write it in Python without this project: Starlette, aiohttp, coincurve. To compare with."""
