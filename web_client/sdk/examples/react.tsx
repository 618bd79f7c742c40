import { StrictMode } from "react";
import { createRoot } from "react-dom/client";
import { RealtimeClient } from "stretto-client";
import { useDocument, usePresence, useRoom } from "stretto-client/react";
import { getToken } from "./guest";

const client = new RealtimeClient({ getToken });

function Notes() {
  const { document, text, status, error } = useDocument(client, "example-react");
  const members = usePresence(document);
  if (error !== null) return <p role="alert">{error.message}</p>;
  return (
    <section>
      <h1>Notes ({status})</h1>
      <p>{members.map(({ user }) => user.name).join(", ")}</p>
      <pre>{text}</pre>
      <button type="button" disabled={document === null} onClick={() => document?.insert(0, "🎻 ")}>
        Play
      </button>
    </section>
  );
}

function Votes() {
  const { room, state } = useRoom(client, "example-votes");
  const votes = Number(state["votes"] ?? 0);
  return (
    <button type="button" onClick={() => room?.setState({ votes: votes + 1 })}>
      {votes} votes
    </button>
  );
}

const place = document.querySelector("#app");
if (place !== null) {
  createRoot(place).render(
    <StrictMode>
      <Notes />
      <Votes />
    </StrictMode>,
  );
}
