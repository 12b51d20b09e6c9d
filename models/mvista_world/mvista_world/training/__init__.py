"""One command per network: data, losses and loops. Every run is resumable and seeded."""
