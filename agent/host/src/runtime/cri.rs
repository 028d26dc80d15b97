//! Placeholder.
use super::{Place, Question};
use tokio::sync::mpsc;
pub(super) async fn run(_place: Place, _questions: mpsc::Receiver<Question>) {}
