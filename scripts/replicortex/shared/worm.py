"""The 302 neurons of the hermaphrodite C. elegans in one order, and their names as sources write them."""

from __future__ import annotations

import re

#: By name, those of the ventral cord by their number. Twenty of them lie in the pharynx.
NEURONS: tuple[str, ...] = tuple(
    """
    ADAL ADAR ADEL ADER ADFL ADFR ADLL ADLR AFDL AFDR AIAL AIAR AIBL AIBR AIML AIMR AINL AINR AIYL AIYR AIZL AIZR
    ALA ALML ALMR ALNL ALNR AQR AS1 AS2 AS3 AS4 AS5 AS6 AS7 AS8 AS9 AS10 AS11 ASEL ASER ASGL ASGR ASHL ASHR ASIL
    ASIR ASJL ASJR ASKL ASKR AUAL AUAR AVAL AVAR AVBL AVBR AVDL AVDR AVEL AVER AVFL AVFR AVG AVHL AVHR AVJL AVJR
    AVKL AVKR AVL AVM AWAL AWAR AWBL AWBR AWCL AWCR BAGL BAGR BDUL BDUR CANL CANR CEPDL CEPDR CEPVL CEPVR DA1 DA2
    DA3 DA4 DA5 DA6 DA7 DA8 DA9 DB1 DB2 DB3 DB4 DB5 DB6 DB7 DD1 DD2 DD3 DD4 DD5 DD6 DVA DVB DVC FLPL FLPR HSNL
    HSNR I1L I1R I2L I2R I3 I4 I5 I6 IL1DL IL1DR IL1L IL1R IL1VL IL1VR IL2DL IL2DR IL2L IL2R IL2VL IL2VR LUAL LUAR
    M1 M2L M2R M3L M3R M4 M5 MCL MCR MI NSML NSMR OLLL OLLR OLQDL OLQDR OLQVL OLQVR PDA PDB PDEL PDER PHAL PHAR
    PHBL PHBR PHCL PHCR PLML PLMR PLNL PLNR PQR PVCL PVCR PVDL PVDR PVM PVNL PVNR PVPL PVPR PVQL PVQR PVR PVT PVWL
    PVWR RIAL RIAR RIBL RIBR RICL RICR RID RIFL RIFR RIGL RIGR RIH RIML RIMR RIPL RIPR RIR RIS RIVL RIVR RMDDL
    RMDDR RMDL RMDR RMDVL RMDVR RMED RMEL RMER RMEV RMFL RMFR RMGL RMGR RMHL RMHR SAADL SAADR SAAVL SAAVR SABD
    SABVL SABVR SDQL SDQR SIADL SIADR SIAVL SIAVR SIBDL SIBDR SIBVL SIBVR SMBDL SMBDR SMBVL SMBVR SMDDL SMDDR
    SMDVL SMDVR URADL URADR URAVL URAVR URBL URBR URXL URXR URYDL URYDR URYVL URYVR VA1 VA2 VA3 VA4 VA5 VA6 VA7
    VA8 VA9 VA10 VA11 VA12 VB1 VB2 VB3 VB4 VB5 VB6 VB7 VB8 VB9 VB10 VB11 VC1 VC2 VC3 VC4 VC5 VC6 VD1 VD2 VD3 VD4
    VD5 VD6 VD7 VD8 VD9 VD10 VD11 VD12 VD13
    """.split()  # noqa: SIM905 - a list of 302 would take 302 lines
)
#: Motor neurons of the ventral cord: classes whose members are numbered, by some with a leading zero.
_NUMBERED = re.compile(r"(AS|DA|DB|DD|VA|VB|VC|VD)0*([1-9]\d?)")
_KNOWN = frozenset(NEURONS)


def canonical(name: str) -> str | None:
    """Return the one name of a neuron, ``None`` if it is none: a muscle, a gland, or not identified.

    ``VB01`` is ``VB1``; letters are upper case, blanks around the name do not count.
    """
    plain = name.strip().upper()
    numbered = _NUMBERED.fullmatch(plain)
    plain = f"{numbered[1]}{numbered[2]}" if numbered else plain
    # Muscles such as "pm1" or "mc1" are no neurons "PM1": none of these is a neuron's name.
    return plain if plain in _KNOWN else None
