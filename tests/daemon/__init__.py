"""What both daemons are made of (shm/daemon), tested without either."""
