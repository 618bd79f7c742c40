import { EditorState } from "@codemirror/state";
import { EditorView } from "@codemirror/view";
import { RealtimeClient } from "stretto-client";
import { collaboration } from "stretto-client/codemirror";
import { getToken } from "./guest";

const client = new RealtimeClient({ getToken });
const doc = await client.open("example-codemirror");

new EditorView({
  parent: document.querySelector("#app") ?? document.body,
  state: EditorState.create({
    doc: doc.text,
    extensions: [collaboration(doc), EditorView.lineWrapping],
  }),
});
