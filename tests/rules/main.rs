//! Every rule against what it is for: it tells of a real attack, and is quiet about the benign twin beside it.
//!
//! A row of a table has a rule, an attack and a twin: shell or Python that runs on the host or in a container. One agent
//! sees all rows of a table. Each side of a row runs in a directory that nobody else has, and what it starts inherits
//! it, so that the alerts of a busy host are told apart by their working directory.
//!
//! Nothing of the host is changed: what runs on the host has mounts and a network of its own, where `/etc` is a copy,
//! other places are empty, and the addresses of the internet are the loopback's. Files of the kernel are opened and not
//! written, and calls that could do harm have arguments that the kernel refuses.

#[cfg(test)]
mod contents;
#[cfg(test)]
mod ground;
#[cfg(test)]
mod published;
#[cfg(test)]
mod row;
#[cfg(test)]
mod shipped;
#[cfg(test)]
mod table;
