"""The asyncio client of Stretto."""
