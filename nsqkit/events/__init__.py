"""Events: their types, the codec that reads and writes them, the envelope's stamp, and raw bodies."""
