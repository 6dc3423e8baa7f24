//! What is made of frames for those who look on: once for all of them, beside the pipeline, and only while somebody looks.

mod accept;
mod hub;
mod look;
mod painter;
mod served;

use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use amis_artifacts::classes::ClassList;

use super::View;
use crate::exchange::Slot;
use crate::source::Frame;
pub(super) use accept::take_all;
pub(super) use hub::{Hub, Next, Topic};
pub(super) use look::Look;
use painter::Painter;
pub(super) use served::{Served, Server};

/// A copy of a view, because painting goes on while the pipeline fills its buffers anew.
struct Scene {
    frame: Frame,
    map: Vec<u8>,
    classes: Arc<ClassList>,
}

/// The painting thread and the way to it.
pub(super) struct Live {
    pub(super) hub: Arc<Hub>,
    desk: Arc<Desk>,
    thread: JoinHandle<()>,
}

struct Desk {
    slot: Slot<Scene>,
    spare: Mutex<Vec<Scene>>,
}

impl Live {
    /// Starts the thread; regions of fewer pixels are not told.
    pub(super) fn start(min_region_px: u32) -> Self {
        let hub = Arc::new(Hub::default());
        let desk = Arc::new(Desk { slot: Slot::new(), spare: Mutex::new(Vec::new()) });
        let thread = thread::spawn({
            let (hub, desk) = (Arc::clone(&hub), Arc::clone(&desk));
            move || paint(&hub, &desk, Painter::new(min_region_px))
        });
        Self { hub, desk, thread }
    }

    /// Hands a frame over if anybody wants something of it. Never waits: a frame that was not begun is replaced.
    pub(super) fn show(&self, view: &View<'_>) {
        if !self.hub.wanted() {
            return;
        }
        let spare = self.desk.spare();
        let mut scene = spare.unwrap_or_else(|| Scene { frame: Frame::default(), map: Vec::new(), classes: Arc::clone(view.classes) });
        scene.frame.copy_from(view.frame);
        scene.map.clear();
        scene.map.extend_from_slice(view.map);
        scene.classes = Arc::clone(view.classes);
        if let Some(older) = self.desk.slot.replace(scene) {
            self.desk.give_back(older);
        }
    }

    /// Ends the thread and all waiting.
    pub(super) fn finish(self) {
        self.hub.close();
        drop(self.desk.slot.close_at_end());
        if self.thread.join().is_err() {
            tracing::error!("the thread that paints for viewers has panicked");
        }
    }
}

impl Desk {
    fn spare(&self) -> Option<Scene> {
        self.spare.lock().unwrap_or_else(PoisonError::into_inner).pop()
    }

    fn give_back(&self, scene: Scene) {
        self.spare.lock().unwrap_or_else(PoisonError::into_inner).push(scene);
    }
}

fn paint(hub: &Hub, desk: &Desk, mut painter: Painter) {
    while let Some(scene) = desk.slot.take() {
        let topics = hub.topics();
        painter.keep(&topics);
        for topic in &topics {
            match painter.make(topic, &scene) {
                Ok(data) => hub.publish(topic, data),
                Err(reason) => tracing::warn!("frame {} cannot be shown to viewers: {reason}", scene.frame.name),
            }
        }
        desk.give_back(scene);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::overlay::Picture;
    use std::time::{Duration, Instant};

    #[test]
    fn ten_viewers_of_one_look_share_one_encoding() {
        let live = Live::start(1);
        let classes = Arc::new(ClassList::from_names(&["background", "road"]).unwrap());
        let frame = Frame { rgb: vec![90; 32 * 16 * 3], width_px: 32, height_px: 16, ..Frame::default() };
        let overlay = Picture::default();
        let view = View { frame: &frame, map: &[1; 32 * 16], overlay: &overlay, entropy: 0.0, classes: &classes };
        live.show(&view);
        let mut viewers: Vec<_> = (0..10).map(|_| live.hub.subscribe(Topic::Picture(Look::default())).unwrap()).collect();
        live.show(&view);
        let jpegs = viewers.iter_mut().map(|viewer| match viewer.next(Instant::now() + Duration::from_secs(10)) {
            Next::New(jpeg) => jpeg,
            Next::Nothing | Next::Closed => panic!("no picture"),
        });
        let jpegs: Vec<_> = jpegs.collect();
        assert!(jpegs[0].starts_with(&[0xff, 0xd8]) && jpegs.iter().all(|jpeg| Arc::ptr_eq(jpeg, &jpegs[0])));
        drop(viewers);
        live.finish();
    }
}
