//! Runtimes' sockets: a real containerd, and daemons that misbehave.

#[cfg(test)]
mod containerd;
#[cfg(test)]
mod docker;
#[cfg(test)]
mod hostile;
#[cfg(test)]
mod real;
#[cfg(test)]
mod source;
