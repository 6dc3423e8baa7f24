//! Another model for a run that goes on: loaded and warmed beside the one that serves, it takes over between two frames.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use amis_artifacts::classes::ClassList;

use crate::exchange::{CloseAtEnd, Slot};
use crate::model::Model;
use crate::stats::{Journal, ModelInfo};
use crate::{Error, Result};

/// The way of a new model into a run, and of the old one out of it.
pub struct Swap {
    new: Slot<Model>,
    old: Slot<Model>,
    serving: Mutex<Serving>,
    /// Held by the change that goes on.
    turn: Mutex<()>,
    journal: Arc<Journal>,
}

/// What the run does now.
struct Serving {
    classes: Arc<ClassList>,
    /// Of the last frame, by camera; (0, 0) before the first.
    sizes_px: Vec<(u32, u32)>,
}

impl Swap {
    pub(crate) fn new(classes: Arc<ClassList>, cameras: usize, journal: Arc<Journal>) -> Self {
        let serving = Serving { classes, sizes_px: vec![(0, 0); cameras] };
        Self { new: Slot::new(), old: Slot::new(), serving: Mutex::new(serving), turn: Mutex::new(()), journal }
    }

    /// Opens a model, warms it with a frame of each camera's size, and returns when it serves. If it cannot be opened or does not fit, the old one goes on, and the failure is an
    /// event too. Changes that are asked for at the same time come one after the other, each compared with what the one before has left.
    ///
    /// # Errors
    /// That of `open`; [`Error::Swap`] if classes have other meanings than those of the serving model, or the run has ended.
    pub fn change(&self, open: impl FnOnce() -> Result<Model>) -> Result<ModelInfo> {
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let start = Instant::now();
        let changed = open().and_then(|model| self.hand_over(model));
        match &changed {
            Ok(info) => {
                self.journal.event(format!("{} v{} ({}) serves; made ready in {} ms", info.name, info.version, info.precision, start.elapsed().as_millis()))
            }
            Err(error) => self.journal.warning(format!("the model was not changed: {error}")),
        }
        changed
    }

    fn hand_over(&self, mut model: Model) -> Result<ModelInfo> {
        let (classes, sizes_px) = {
            let serving = self.serving.lock().unwrap_or_else(PoisonError::into_inner);
            (Arc::clone(&serving.classes), serving.sizes_px.clone())
        };
        // Newer models append classes; going back to an older one takes them away again.
        if let (Err(error), Err(_)) = (model.classes().must_extend(&classes), classes.must_extend(model.classes())) {
            return Err(Error::Swap { reason: error.to_string() });
        }
        model.warm(&sizes_px)?;
        let info = model.info();
        let ended = || Error::Swap { reason: "the run has ended".into() };
        if !self.new.put(model) {
            return Err(ended());
        }
        // The old one is taken apart here, where nobody waits for it.
        self.old.take().map(|_| info).ok_or_else(ended)
    }

    /// Lets a model that waits take the place of `model`, which is about to do a frame of this size from this camera.
    pub(crate) fn take_over(&self, model: &mut Model, camera: usize, size_px: (u32, u32)) {
        let mut serving = self.serving.lock().unwrap_or_else(PoisonError::into_inner);
        serving.sizes_px[camera] = size_px;
        let Some(new) = self.new.try_take() else { return };
        serving.classes = Arc::clone(new.classes());
        drop(serving);
        self.journal.serves(new.info());
        self.old.replace(std::mem::replace(model, new));
    }

    /// Ends all waiting when the guard goes.
    pub(crate) fn close_at_end(&self) -> (CloseAtEnd<'_, Model>, CloseAtEnd<'_, Model>) {
        (self.new.close_at_end(), self.old.close_at_end())
    }
}
