//! What the agent serves over HTTP: health, status, and the operators' requests on its unix socket.
