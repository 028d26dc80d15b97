//! Runtimes' sockets: a real containerd, and daemons that misbehave.

#[cfg(test)]
mod docker;
#[cfg(test)]
mod events;
#[cfg(test)]
mod grpc;
#[cfg(test)]
mod hostile;
#[cfg(test)]
mod oci;
#[cfg(test)]
mod real;
#[cfg(test)]
mod source;
