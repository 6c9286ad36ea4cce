/** The shortest page that uses the package: import, load, classify. */

import { loadOurs } from './engines/ours.js';
import { tellFirstAnswer } from './first.js';

const pack = new URLSearchParams(location.search).get('pack') ?? undefined;
await tellFirstAnswer((steps) =>
  loadOurs(pack, undefined, ({ phase, loaded, total }) => {
    if (loaded === total) steps[phase] = performance.now();
  }),
);
