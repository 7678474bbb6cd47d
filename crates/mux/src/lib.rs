//! A yamux multiplexer for tokio: correct against Go peers, safe against hostile ones, fast to open a stream.
