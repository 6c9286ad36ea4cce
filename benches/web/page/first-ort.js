/** The same page with the peer. */

import { loadOrt } from './engines/ort.js';
import { tellFirstAnswer } from './first.js';

const precision = new URLSearchParams(location.search).get('precision') === 'int8' ? 'int8' : 'fp32';
await tellFirstAnswer(() => loadOrt(precision, 1));
