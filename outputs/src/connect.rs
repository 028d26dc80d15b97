//! `hostward config check --connect`: tries a destination without sending it an event.

use crate::net::check::CheckStep;
use crate::{Config, elastic, hec, journald, kafka, otlp, syslog, webhook};

impl Config {
    /// Tries name, connection, TLS, login and permission, as far as the destination tells them apart. Empty:
    /// the destination is this host, and there is nothing to connect to.
    pub async fn connect(&self) -> Vec<CheckStep> {
        match self {
            Self::File(_) | Self::Stdout(_) => Vec::new(),
            Self::Elastic(elastic) => elastic::check(elastic).await,
            Self::SplunkHec(hec) => hec::check(hec).await,
            Self::Otlp(otlp) => otlp::check(otlp).await,
            Self::Kafka(kafka) => kafka::check(kafka).await,
            Self::Syslog(syslog) => syslog::check(syslog).await,
            Self::Journald(journald) => journald::check(journald).await,
            Self::Webhook(webhook) => webhook::check(webhook).await,
        }
    }
}
