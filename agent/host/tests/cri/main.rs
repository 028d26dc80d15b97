//! The CRI source against a real containerd, and against sockets that misbehave.

#[cfg(test)]
mod containerd;
#[cfg(test)]
mod hostile;
#[cfg(test)]
mod real;
#[cfg(test)]
#[path = "../../src/skip.rs"]
mod skip;
#[cfg(test)]
mod source;
