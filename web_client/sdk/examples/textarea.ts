import { RealtimeClient } from "stretto-client";
import { bindTextarea } from "stretto-client/textarea";
import { getToken } from "./guest";

const client = new RealtimeClient({ getToken });
const doc = await client.open("example-textarea");

const field = document.createElement("textarea");
const status = document.createElement("p");
document.querySelector("#app")?.append(field, status);
bindTextarea(doc, field);

const show = (): void => {
  status.textContent = `${doc.status}, ${doc.members.length} here`;
};
doc.on("status", show);
doc.on("presence", show);
show();
