/** What the official JavaScript client must be able to do. A scenario throws when it cannot. */
import { connecting } from "./connecting.mjs";
import { events } from "./events.mjs";
import { leaving } from "./leaving.mjs";
import { recovering } from "./recovering.mjs";
import { rooms } from "./rooms.mjs";
import { upgrading } from "./upgrading.mjs";

export const scenarios = {
  ...connecting,
  ...events,
  ...leaving,
  ...recovering,
  ...rooms,
  ...upgrading,
};
