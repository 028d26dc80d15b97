//! What receivers of the text forms rely on, read back by small parsers written from the formats' own
//! descriptions.

#[cfg(test)]
mod canonical;
#[cfg(test)]
mod cef;
#[cfg(test)]
mod falco;
#[cfg(test)]
mod forms;
#[cfg(test)]
mod leef;
#[cfg(test)]
mod samples;
