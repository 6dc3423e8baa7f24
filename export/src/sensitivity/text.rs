//! Sensitivity as a person reads it.

use std::fmt;

use super::{Effect, Layer, Sensitivity};
use crate::compare::{points, table};

impl fmt::Display for Sensitivity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.reproduction.problem, self.reproduction.graph_miou) {
            (None, miou) => writeln!(f, "{} images, float32 has {} points of mean IoU, as the trainer measured", self.images, points(miou))?,
            (Some(problem), _) => writeln!(f, "{} images; no loss of mean IoU is stated, because {problem}", self.images)?,
        }
        let row = |name: String, only: Option<&Effect>, without: &Effect| {
            let error = |effect: Option<&Effect>| effect.map_or("–".into(), |e| format!("{:.2e}", e.mask_mse));
            let lost = |effect: Option<&Effect>| effect.map_or("–".into(), |e| points(e.drop));
            vec![name, error(only), lost(only), error(Some(without)), lost(Some(without)), format!("{:.3}", 100.0 * without.argmax_agreement)]
        };
        let all = row("(all in INT8)".into(), None, &self.all);
        let layers = self.layers.iter().map(|Layer { name, only, without }| row(name.clone(), Some(only), without));
        let head = ["layer", "only it: mask MSE", "loss", "all but it: mask MSE", "loss", "same class %"].map(str::to_owned);
        write!(f, "\n{}", table(head, std::iter::once(all).chain(layers)))?;
        let Some(budget) = &self.budget else { return Ok(()) };
        if !budget.met {
            write!(
                f,
                "\n\nStay with FP16: with {} of {} layers kept, INT8 still loses {} points, ",
                budget.keep.len(),
                self.layers.len(),
                points(budget.rest.drop)
            )?;
            return write!(f, "more than {}", budget.points);
        }
        write!(f, "\n\nWith {} of {} layers kept in FP16, INT8 loses {} points, ", budget.keep.len(), self.layers.len(), points(budget.rest.drop))?;
        write!(f, "within {}", budget.points)?;
        budget.keep.iter().try_for_each(|k| write!(f, "\n  {}: {}", k.layer, k.reason))
    }
}
