// Run by a container beside each mongod until it succeeds: makes the replica set
// and Footfall's user, once. Only a connection over localhost may do so while no
// user exists, and only member 0 does, so that no two members make a set each.
// Members that scale up are added here; one that is scaled away is the operator's.
const host = (i) => `mongodb-${i}.mongodb.stores.svc.cluster.local:27017`;
const user = process.env.MONGODB_USER;
const password = process.env.MONGODB_PASSWORD;
const replicas = Number(process.env.MONGODB_REPLICAS);

const members = [...Array(replicas).keys()].map((i) => ({ _id: i, host: host(i) }));
const admin = db.getSiblingDB("admin");
const signIn = () => {
  try {
    return admin.auth(user, password).ok === 1;
  } catch (e) {
    if (e.codeName === "AuthenticationFailed") return false; // no such user yet
    throw e;
  }
};

let made = true;
try {
  rs.status();
} catch (e) {
  // Unauthorized: there is a set with a user, and we are not signed in yet.
  if (e.codeName === "NotYetInitialized") made = false;
  else if (e.codeName !== "Unauthorized") throw e;
}
if (!made) {
  // One member at first: it becomes primary at once, without waiting for pods
  // that are not there yet.
  rs.initiate({ _id: "footfall", members: members.slice(0, 1) });
}
const deadline = Date.now() + 60_000;
while (!db.hello().isWritablePrimary) {
  // Another member may have become primary since the set was made.
  if (made && db.hello().secondary && signIn()) quit(0);
  if (Date.now() > deadline) throw new Error("no primary within a minute");
  sleep(500);
}
if (!signIn()) {
  // clusterManager lets this script add members; Footfall itself reads and
  // writes its own database and sees whether the set is well.
  admin.createUser({
    user,
    pwd: password,
    roles: [
      { role: "readWrite", db: "footfall" },
      { role: "dbAdmin", db: "footfall" },
      { role: "clusterManager", db: "admin" },
    ],
  });
  signIn();
}
for (const m of members) {
  if (!rs.conf().members.some((have) => have.host === m.host)) rs.add(m);
}
