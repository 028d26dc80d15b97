//! The promises of the outputs, kept by real files, pipes, filesystems and killed processes.

#[cfg(test)]
mod common;
#[cfg(test)]
mod file;
#[cfg(test)]
mod law;
#[cfg(test)]
mod manual;
#[cfg(test)]
mod stdout;
