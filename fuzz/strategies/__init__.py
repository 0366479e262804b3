"""What may come in, by protocol: valid, nearly valid, hostile. Shared by the targets here and by the tests."""
